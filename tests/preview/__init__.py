"""The boards drawn by Grafana's own components over real answers, and checks of what is seen on them."""
