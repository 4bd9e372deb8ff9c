"""The command ``hailortcli``: what scripts run of it, with the lines that they parse."""
