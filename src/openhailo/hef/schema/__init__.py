"""The protobuf schema of a HEF. Generated code stays in this package."""
