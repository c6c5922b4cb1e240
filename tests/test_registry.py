"""Every registered part: its options, as they are read from source and once it is imported."""

from __future__ import annotations

import re
from typing import Annotated, Any

import pytest

from mixseg import registry
from mixseg.config.options import options_of
from mixseg.config.schema import schema
from mixseg.config.values import AtLeast, Range, value_of
from mixseg.errors import ConfigError
from mixseg.mixing import ClassMix, Mixer
from mixseg.registry import MIXERS, Registry

REGISTRIES = {name: one for name, one in vars(registry).items() if isinstance(one, Registry)}


def test_options_read_from_source_are_those_of_the_imported_part() -> None:
    assert len(REGISTRIES) > 10
    for variable, where in REGISTRIES.items():
        assert list(where), variable
        found = registry._registered(where.package)
        bare = {name: entry.part for own, name, entry in found if own == variable}
        for name in where:
            section = where.section or name.replace("-", "_")
            options = options_of(where[name], section, name)
            assert bare[name] is not where[name] and where.signature(name) is where[name]
            assert options_of(bare[name], section, name) == options
            for option in options:  # ranges: tests/config/test_settings.py
                assert option.help.strip(), option.path
                assert value_of(option.hint, option.default) == option.default, option.path


@pytest.fixture
def stripes() -> Any:
    """A mixer from outside the package, which is gone after the test."""
    version = Registry.version

    @MIXERS.register("stripes")
    class Stripes:
        """Every second stripe."""

        def __init__(
            self, num_classes: int, count: Annotated[int, AtLeast(1)] = 8, *, seed: object = None
        ) -> None:
            """Args: count: number of stripes."""
            self.num_classes, self.count = num_classes, count

    yield Stripes
    del MIXERS._known()["stripes"]
    Registry.version = version


def test_a_part_from_outside_is_one_like_any_other(stripes: Any) -> None:
    assert "stripes" in MIXERS and "stripes" in list(MIXERS)
    assert MIXERS["stripes"] is stripes
    (option,) = MIXERS.options("stripes")
    assert (option.path, option.default, option.help) == ("mixing.count", 8, "number of stripes.")
    assert option.allowed == Range(1, 1e9)
    assert option in schema()["mixing.count"]
    built: Any = MIXERS.build("stripes", {"mixing.count": 3, "mixing.sigma": 2}, num_classes=5)
    assert (built.num_classes, built.count) == (5, 3)
    with pytest.raises(ConfigError, match="num_classes"):
        MIXERS.build("stripes", {})
    with pytest.raises(ConfigError, match="'stripes'"):
        MIXERS.check("stripe", "mixing.mixer")
    with pytest.raises(ConfigError, match="'classmix'"):
        MIXERS.register("classmix")(lambda: None)


def test_an_option_without_an_annotation_has_the_type_of_its_default() -> None:
    def part(given, sides=3, share=0.5, name="a", inner=False, other=None):  # type: ignore[no-untyped-def]
        return given, sides, share, name, inner, other

    found = {one.path: one.hint for one in options_of(part, "mixing", "own")}
    assert found == {
        "mixing.sides": int,
        "mixing.share": float,
        "mixing.name": str,
        "mixing.inner": bool,
    }


def test_a_name_that_is_taken_is_refused_with_the_file_that_wants_it() -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(__file__)}.*classmix"):
        MIXERS.register("classmix")(type("Another", (Mixer,), {"__module__": __name__}))
    assert MIXERS["classmix"] is ClassMix
