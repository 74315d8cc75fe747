"""A page to look at a shape from all sides: one HTML file with points and code inside, nothing fetched.

Points are float32 and colours bytes, in base64; WebGL 1 draws them as lit balls. Drag turns, the wheel zooms, a double
click starts over.
"""

import base64
import html
import os
from pathlib import Path
from string import Template

import numpy as np
from torch import Tensor

from .render import in_unit_ball, painted

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
html, body { margin: 0; height: 100%; overflow: hidden; background: #fff; font: 13px sans-serif; color: #555 }
canvas { width: 100%; height: 100%; display: block; touch-action: none; cursor: grab }
p { position: absolute; left: 12px; bottom: 4px; pointer-events: none }
</style>
</head>
<body>
<canvas></canvas>
<p>$title &middot; $count points &middot; drag to turn, wheel to zoom, double click to start over</p>
<script>
"use strict";
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const points = new Float32Array(bytes("$points").buffer), colors = bytes("$colors");
const canvas = document.querySelector("canvas"), gl = canvas.getContext("webgl");
if (!gl) document.querySelector("p").textContent = "This page needs WebGL, which the browser has switched off.";

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
for (const [name, data, type] of [["place", points, gl.FLOAT], ["paint", colors, gl.UNSIGNED_BYTE]]) {
  const where = gl.getAttribLocation(program, name);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
  gl.enableVertexAttribArray(where);
  gl.vertexAttribPointer(where, 3, type, type === gl.UNSIGNED_BYTE, 0, 0);
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
  gl.uniform1f(uniform("size"), Math.max(2, 1.1 * side / Math.sqrt(points.length / 3)));
  gl.drawArrays(gl.POINTS, 0, points.length / 3);
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
reset();
</script>
</body>
</html>
""")


def viewer(
    points: Tensor, path: str | Path, *, colors: Tensor | None = None, title: str = "mmdiff", up: str = "y"
) -> Path:
    """Write the page of points ``(3, N)``; ``colors`` ``(3, N)`` in [-1, 1], by height where left out."""
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a viewer is a page, .html; got {path.name}")
    x = in_unit_ball(points, up)
    paint = (255 * painted(x[1], colors)).round().astype(np.uint8)
    page = PAGE.substitute(
        title=html.escape(title), count=f"{x.shape[1]:,}", points=_text(x.T.astype("<f4")), colors=_text(paint)
    )
    partial = path.with_name(f".{path.stem}.{os.getpid()}.writing{path.suffix}")
    try:
        partial.write_text(page, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
