"""The update plan, parameter groups, schedules, precision, engines, checkpoints and the evaluation loop."""
