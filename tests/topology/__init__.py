"""The topology of docker-compose.yml, without containers."""
