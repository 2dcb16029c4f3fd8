"""What is trained and measured here: phantoms with lesions at known places, the demo bundle, benchmarks."""
