"""What tests of several folders share: small inputs, stand-ins for services, and recordings."""
