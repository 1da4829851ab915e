"""The programs: settings, composition, command lines, installer, management.

Only this folder reads files of settings, environment variables, argv and signals.
"""
