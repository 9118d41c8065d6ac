"""The web face: an HTTP API, and the page in which a photo never leaves the device."""
