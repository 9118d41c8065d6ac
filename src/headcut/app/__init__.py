"""The window: choose a photo, see the head, a PNG is in Documents. Read `session` first.

`session` knows what the window is about and nothing of windows; `pictures` draws what it shows;
`window` is the Toga part; `system` is what differs between systems. On iOS, and on macOS where the
Core ML models are at hand, `coreml` runs the networks; every Objective-C call is in `apple`.
"""
