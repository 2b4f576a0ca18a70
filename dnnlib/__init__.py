"""The ground without torch: settings, files, console lines and the manners of the command line."""
