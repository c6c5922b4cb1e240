"""Procedural street scenes with exact labels: data to try everything without a download."""

from mixseg.scenes.layouts import LAYOUTS
from mixseg.scenes.looks import Look
from mixseg.scenes.scene import render_scene
from mixseg.scenes.writer import ensure_demo, write_demo

__all__ = ["LAYOUTS", "Look", "ensure_demo", "render_scene", "write_demo"]
