"""The clutter filter's network: unfolded robust PCA, its training and export."""
