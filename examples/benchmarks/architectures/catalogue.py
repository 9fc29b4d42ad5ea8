"""The networks of the matrix, by name."""

import applications
import image_networks
import other_networks

NETWORKS = image_networks.NETWORKS | other_networks.NETWORKS | applications.NETWORKS


def chosen(only=None):
    """Give the names of all networks, or of those that are named, or whose family is."""
    if not only:
        return list(NETWORKS)
    found = [name for name, n in NETWORKS.items() if name in only or n.family in only]
    unknown = set(only) - set(NETWORKS) - {n.family for n in NETWORKS.values()}
    if unknown:
        raise SystemExit(f"--only {sorted(unknown)}: expected some of {', '.join(NETWORKS)}")
    return found
