"""SVG drawings: read under limits, sanitised, and drawn by resvg as Chromium draws them.

`reading` parses, `sanitise` keeps what is harmless, `resolve` turns style sheets, nested drawings and embedded pictures
into the plain SVG that resvg knows, `raster` draws it.
"""
