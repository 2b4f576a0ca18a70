"""Real faces in memory, drawn in an endless shuffled order that depends on nothing but the seed."""

import numpy as np
import torch
from tqdm import tqdm

from torch_utils.images import to_float
from torch_utils.random_streams import numpy_stream, stream


class EndlessOrder:
    """Positions 0..count-1, reshuffled every round; position `i` of the endless row can be asked for directly."""

    def __init__(self, count, seed, purpose):
        self.count, self.seed, self.purpose = count, seed, purpose
        self._round, self._order = None, None

    def __getitem__(self, position):
        turn, place = divmod(position, self.count)
        if turn != self._round:
            self._order = numpy_stream(self.seed, self.purpose, turn).permutation(self.count)
            self._round = turn
        return int(self._order[place])

    def batch(self, index, size):
        """Returns the positions of batch `index`."""
        return [self[index * size + place] for place in range(size)]


def check_size(dataset, row, resolution):
    """Raises ValueError unless the picture of `row` has the side that the run needs."""
    height, width = dataset.read_face(row).shape[:2]
    if (height, width) != (resolution, resolution):
        raise ValueError(f'"{dataset.path}" holds {width}x{height} faces, this run needs '
                         f"{resolution}x{resolution}; build the dataset in that size.")


class RealFaces:
    """The faces of one split as uint8 in memory; `batch(index, size)` gives floats in [-1, 1]."""

    def __init__(self, dataset, *, split="train", resolution, channels=3, seed=0, mirror=False):
        rows = dataset.faces(split)
        if not rows:
            raise ValueError(f'"{dataset.path}" has no faces in the split "{split}".')
        check_size(dataset, rows[0], resolution)
        self.images = torch.empty([len(rows), channels, resolution, resolution], dtype=torch.uint8)
        for place, row in enumerate(tqdm(rows, desc="Reading faces", unit="img", disable=None)):
            self.images[place] = torch.from_numpy(np.array(dataset.read_face(row))).permute(2, 0, 1)
        self.order, self.seed, self.mirror = EndlessOrder(len(rows), seed, "faces"), seed, mirror

    def __len__(self):
        return len(self.images)

    def batch(self, index, size):  # -> [N, C, H, W] in [-1, 1]
        """Returns batch `index` of the endless order; with `mirror`, half of the faces are flipped."""
        images = to_float(self.images[self.order.batch(index, size)])
        if self.mirror:
            flip = torch.rand([size, 1, 1, 1], generator=stream(self.seed, "mirror", index)) < 0.5
            images = torch.where(flip, images.flip(3), images)
        return images
