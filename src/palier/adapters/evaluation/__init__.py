"""What `evaluate-models` measures with and writes: scores of texts, calibration, plots, the page, blind comparisons."""
