"""Reading a cluster's nodes through the API server. Thin: decisions are in berth.fit.placement."""
