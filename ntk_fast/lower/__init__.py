"""From a network's description to what tiles execute."""
