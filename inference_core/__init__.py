"""What all programs share: values and rules that know no HTTP, no gRPC and no process."""
