"""How good and how fast a codec is: scores of a reconstruction, use of the codebook, pictures, timings."""
