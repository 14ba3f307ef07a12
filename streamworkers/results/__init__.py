"""What the analysis computes, and where its results are stored."""
