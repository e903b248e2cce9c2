"""Networks, described as data: layers as frozen dataclasses in a tree."""
