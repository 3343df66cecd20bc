"""What every process says about itself: traces and logs."""
