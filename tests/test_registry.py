"""Every registered part: its options, as they are read from source and once it is imported."""

from __future__ import annotations

import typing
from typing import Annotated, Any

import pytest

from mixseg import registry
from mixseg.config.options import Setting, options_of
from mixseg.config.schema import schema
from mixseg.config.values import AtLeast, Range, value_of
from mixseg.errors import ConfigError
from mixseg.registry import MIXERS, Registry

REGISTRIES = {name: one for name, one in vars(registry).items() if isinstance(one, Registry)}
PARTS = [(one, name) for one in REGISTRIES.values() for name in one]
every_part = pytest.mark.parametrize(
    ("where", "name"), PARTS, ids=[f"{one.kind}-{name}" for one, name in PARTS]
)


def test_every_registry_has_parts() -> None:
    assert len(REGISTRIES) > 10
    assert all(list(one) for one in REGISTRIES.values())


@every_part
def test_options_read_from_source_are_those_of_the_imported_part(
    where: Registry[Any], name: str
) -> None:
    variable = next(key for key, value in REGISTRIES.items() if value is where)
    (bare,) = (
        entry.part
        for *found, entry in registry._registered(where.package)
        if found == [variable, name]
    )
    assert bare is not where[name]
    section = where.section or name.replace("-", "_")
    assert options_of(bare, section, name) == options_of(where[name], section, name)
    assert where.signature(name) is where[name]


@every_part
def test_every_option_has_a_document_a_value_and_every_number_a_range(
    where: Registry[Any], name: str
) -> None:
    for option in where.options(name):
        assert option.help.strip(), option.path
        assert option.owner == name
        assert value_of(option.hint, option.default) == option.default, option.path
        check_range(option)


def check_range(setting: Setting) -> None:
    def numbers(hint: Any) -> bool:
        return hint in (int, float) or any(map(numbers, typing.get_args(hint)))

    if numbers(setting.hint):
        assert setting.allowed is not None, f"{setting.path} has no range"
        if setting.default is not None:
            assert setting.allowed.holds(setting.default), setting.path


def test_settings_of_every_run_have_ranges_and_documents() -> None:
    for path, entries in schema().items():
        for entry in entries:
            assert entry.help.strip(), path
            if path != "stages":
                check_range(entry)


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


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="'classmix'"):
        MIXERS.register("classmix")(lambda: None)
