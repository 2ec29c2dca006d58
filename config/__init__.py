"""Settings: where and when. The annotated default file beside this module, planimeter.toml, is the manual."""
