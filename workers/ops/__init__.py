"""One file for each op: ``apply(image, params) -> image``, on RGB or RGBA pictures in sRGB. Pure; no I/O."""
