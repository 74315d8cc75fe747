"""A page to look at shapes from all sides: one HTML file with points and code inside, nothing fetched.

Points are float32 and colours bytes, in base64; WebGL 1 draws them as lit balls. Drag turns, the wheel zooms, a double
click starts over, the arrow keys and buttons go to the next shape.
"""

import base64
import html
import json
import os
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np

from .render import Shown, in_unit_ball, painted

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
html, body { margin: 0; height: 100%; overflow: hidden; background: #fff; font: 13px sans-serif; color: #555 }
canvas { width: 100%; height: 100%; display: block; touch-action: none; cursor: grab }
p { position: absolute; left: 12px; bottom: 4px }
</style>
</head>
<body>
<canvas></canvas>
<p><button>&#9664;</button> <button>&#9654;</button> <span></span> &middot;
drag to turn, wheel to zoom, double click to start over</p>
<script>
"use strict";
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const shapes = $shapes.map(s => ({
  title: s.title, points: new Float32Array(bytes(s.points).buffer), colors: bytes(s.colors)
}));
const canvas = document.querySelector("canvas"), gl = canvas.getContext("webgl");
if (!gl) document.querySelector("span").textContent = "This page needs WebGL, which the browser has switched off.";

const program = gl.createProgram();
for (const [type, source] of [
  [gl.VERTEX_SHADER, `
    attribute vec3 place, paint;
    uniform mat3 turn;
    uniform vec2 aspect;
    uniform float zoom, size;
    varying vec3 color;
    void main() {
      vec3 seen = turn * place;
      float near = 3.0 / (3.0 - seen.z);
      gl_Position = vec4(0.85 * zoom * near * seen.xy * aspect, -0.5 * seen.z, 1.0);
      gl_PointSize = size * zoom * near;
      color = mix(paint, vec3(1.0), 0.15 * (1.0 - seen.z));
    }`],
  [gl.FRAGMENT_SHADER, `
    precision mediump float;
    varying vec3 color;
    void main() {
      vec2 d = 2.0 * gl_PointCoord - 1.0;
      float z = 1.0 - dot(d, d);
      if (z < 0.0) discard;
      float light = max(0.0, dot(vec3(d.x, -d.y, sqrt(z)), normalize(vec3(-0.4, 0.65, 0.65))));
      gl_FragColor = vec4(color * (0.45 + 0.55 * light), 1.0);
    }`],
]) {
  const shader = gl.createShader(type);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  gl.attachShader(program, shader);
}
gl.linkProgram(program);
gl.useProgram(program);
const buffers = {place: gl.createBuffer(), paint: gl.createBuffer()};
let current = 0, count = 0;
function show(index) {
  current = (index + shapes.length) % shapes.length;
  const {title, points, colors} = shapes[current];
  count = points.length / 3;
  for (const [name, data, type] of [["place", points, gl.FLOAT], ["paint", colors, gl.UNSIGNED_BYTE]]) {
    const where = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, 3, type, type === gl.UNSIGNED_BYTE, 0, 0);
  }
  document.querySelector("span").textContent =
    `$${current + 1} of $${shapes.length}: $${title} \u00b7 $${count.toLocaleString()} points`;
  draw();
}
gl.enable(gl.DEPTH_TEST);
gl.clearColor(1, 1, 1, 1);

let azimuth, elevation, zoom;
const uniform = name => gl.getUniformLocation(program, name);
function draw() {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.width = canvas.clientWidth * ratio, height = canvas.height = canvas.clientHeight * ratio;
  const side = Math.min(width, height);
  const [sa, ca, se, ce] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
  gl.viewport(0, 0, width, height);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.uniformMatrix3fv(uniform("turn"), false, [ca, -sa * se, sa * ce, 0, ce, se, -sa, -ca * se, ca * ce]);
  gl.uniform2f(uniform("aspect"), side / width, side / height);
  gl.uniform1f(uniform("zoom"), zoom);
  gl.uniform1f(uniform("size"), Math.max(2, 1.1 * side / Math.sqrt(count)));
  gl.drawArrays(gl.POINTS, 0, count);
}
function reset() { azimuth = 0.61; elevation = 0.35; zoom = 1; draw(); }
canvas.onpointerdown = event => canvas.setPointerCapture(event.pointerId);
canvas.onpointermove = event => {
  if (!event.buttons) return;
  azimuth -= 0.01 * event.movementX;
  elevation = Math.max(-1.57, Math.min(1.57, elevation + 0.01 * event.movementY));
  draw();
};
canvas.onwheel = event => {
  event.preventDefault();
  zoom = Math.max(0.2, Math.min(20, zoom * Math.exp(-0.001 * event.deltaY)));
  draw();
};
canvas.ondblclick = reset;
window.onresize = draw;
const [previous, next] = document.querySelectorAll("button");
previous.onclick = () => show(current - 1);
next.onclick = () => show(current + 1);
window.onkeydown = event => {
  if (event.key === "ArrowLeft") previous.onclick();
  if (event.key === "ArrowRight") next.onclick();
};
if (shapes.length === 1) previous.hidden = next.hidden = true;
azimuth = 0.61; elevation = 0.35; zoom = 1;
show(0);
</script>
</body>
</html>
""")


def viewer(shapes: Sequence[Shown], path: str | Path, *, title: str = "mmdiff", up: str = "y") -> Path:
    """Write the page of ``shapes``, at least one. Raises ``ValueError`` for an ending that is not a page's, or NaN."""
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a viewer is a page, .html; got {path.name}")
    if not shapes:
        raise ValueError("a page needs at least one cloud")
    records = json.dumps([_record(shape, up) for shape in shapes]).replace("<", "\\u003c")
    page = PAGE.substitute(title=html.escape(title), shapes=records)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.writing{path.suffix}")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _record(shape: Shown, up: str) -> dict[str, str]:
    x = in_unit_ball(shape.points, up)
    paint = (255 * painted(x[1], shape.colors)).round().astype(np.uint8)
    return {"title": shape.title, "points": _text(x.T.astype("<f4")), "colors": _text(paint)}


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
