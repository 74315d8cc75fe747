"""The nodes that a scheduler of diffusers visits, as a grid, so that trajectories can be compared call by call."""

import numpy as np
import torch

from mmdiff.core.grids import Grid


class Listed(Grid):
    """``log_snr`` of each node; what lies between them is of no use to one-step samplers."""

    def __init__(self, log_snr):
        self.log_snr = torch.as_tensor(log_snr, dtype=torch.float64)

    def time(self, u, schedule, n):
        places = np.linspace(0, 1, len(self.log_snr))
        times = schedule.time(self.log_snr).numpy()
        return torch.from_numpy(np.interp(u.numpy(), places, times))

    def ratio(self, u, schedule, n):
        alpha, sigma = schedule.level(self.time(u, schedule, n))
        return sigma / alpha

    def clean(self, schedule, n):
        return False


def of_flow(sigmas):
    """``log_snr`` of sigmas of x_t = (1 - sigma) x0 + sigma eps, without the last one, which is 0."""
    sigma = torch.as_tensor(np.asarray(sigmas)[:-1], dtype=torch.float64)
    return 2 * ((1 - sigma).log() - sigma.log())
