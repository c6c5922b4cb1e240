"""Procedural street scenes with exact labels: data to try everything without a download."""

from mixseg.data.demo.layouts import LAYOUTS
from mixseg.data.demo.looks import Look
from mixseg.data.demo.scene import render_scene
from mixseg.data.demo.writer import ensure_demo, write_demo

__all__ = ["LAYOUTS", "Look", "ensure_demo", "render_scene", "write_demo"]
