"""The API; programs import `hailo_platform.pyhailort.pyhailort`."""
