"""What several tests share: minted certificates, doubles at the ports, scripted conversations."""
