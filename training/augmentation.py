"""Augmentation inside a step: the pipe, the controller of its p, and the streams that they draw from."""


class Augmentation:
    """Called as (images, draw, batch) -> images; `saw` and `finish` let p follow what D says of real pictures."""

    def __init__(self, settings):
        from training.ada import AdaController, AdaSettings
        from training.augment import AugmentPipe

        self.pipe = AugmentPipe(settings.augpipe)
        self.controller = AdaController(self.pipe, AdaSettings(
            mode=settings.aug, p=settings.aug_p, target=settings.aug_target, ada_kimg=settings.ada_kimg))

    @property
    def p(self):
        """The strength as a plain number."""
        return float(self.pipe.p)

    @property
    def at_bound(self):
        """True when the controller would raise p further if it could."""
        return bool(self.controller.at_bound)

    def __call__(self, images, draw, batch):
        return self.pipe(images, generator=draw("augment"), batch=batch)

    def saw(self, real_logits):
        """Takes note of D's logits of real pictures."""
        self.controller.observe(real_logits)

    def finish(self, batch_size):
        """Moves p after an iteration."""
        self.controller.update(batch_size)

    def state(self):
        """Returns what a resumed run needs."""
        return self.controller.state()

    def restore(self, state):
        """Takes back what `state()` returned."""
        self.controller.restore(state)


def augmentation_of(settings):
    """Returns the Augmentation of a run's settings, or None when there is none."""
    return None if settings.aug == "noaug" else Augmentation(settings)
