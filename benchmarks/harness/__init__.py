"""What every suite shares: timing, devices, workloads."""
