"""One iteration of the whole method: voice -> W+ -> face against discriminator and identity classifier.

G main (with all rows of losses/terms.py), path length (lazy, only when the generator trains), D main with the
classifier's cross-entropy on real faces, R1 (lazy), moving averages. Every batch pairs voices with real faces of the
same people.
"""

import copy
import dataclasses

import torch

from torch_utils.random_streams import stream
from training.adversarial_step import AdversarialStep, Real
from training.ema import ema_beta, update_ema
from training.losses.adversarial import discriminator_loss
from training.losses.path_length import path_lengths
from training.losses.terms import WeighedTerms, total
from voice2style.discriminator import Discriminator
from voice2style.pipeline import VoiceToFace

JOINT_TERMS = {"realism": 1.0, "identity": 1.0, "identity_real": 1.0, "w_avg": 0.1, "spread": 4.0}


def with_classifier(discriminator, num_people, *, seed):
    """Returns a discriminator with the same weights and a fresh classifier of `num_people` identities on its trunk."""
    if num_people < 2:
        raise ValueError(f"{num_people} person cannot be told apart from others; --task joint needs two or more people "
                         "with voice and faces in the training split.")
    settings = dataclasses.replace(discriminator.settings, num_people=num_people)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "identity classifier").initial_seed())
        grown = Discriminator(settings)
    kept = discriminator.state_dict()
    grown.load_state_dict({name: fresh if name.startswith("classifier.") else kept[name]
                           for name, fresh in grown.state_dict().items()})
    return grown


def lazy_adam_groups(groups, betas):
    """Returns one Adam over [(parameters, lr, interval or None)]: groups of a lazy regulariser get its correction."""
    found = []
    for parameters, lr, interval in groups:
        share = 1.0 if interval is None else interval / (interval + 1)
        found.append({"params": list(parameters), "lr": lr * share, "betas": tuple(beta**share for beta in betas)})
    return torch.optim.Adam(found, eps=1e-8, fused=True)


class JointStep(AdversarialStep):
    """Networks, optimisers and running means; `phases(index)` is what iteration `index` does (see training/phases.py).

    `model`: a VoiceToFace; `discriminator`: one with an identity classifier; `equipment`: of losses/equipment.py, with
    `mean_codes` and `whitening`. `augment`: (images, draw, batch) -> images for whatever D sees, with `saw(logits)`,
    `finish(batch size)`, `state()` and `restore()`. `change_waves`: (waves, draw, batch) -> waves. `masks`: a
    FeatureMasks. Reads of `settings`: lr, g_lr, d_lr, betas, gamma, r1_interval, pl_interval, pl_weight, pl_decay,
    train_generator, ema_kimg, ema_rampup, precision, terms.
    """

    def __init__(self, model, discriminator, equipment, settings, *, augment=None, change_waves=None, masks=None):
        if not discriminator.settings.num_people:
            raise ValueError("the joint step needs a discriminator with an identity classifier; see with_classifier")
        self.terms = WeighedTerms({**JOINT_TERMS, **settings.terms}, equipment, sides=("G", "D"))
        trained = ("encoder", *self.terms.networks, *(("G",) if settings.train_generator else ()))
        super().__init__(settings, trained=trained, device=model.device, augment=augment,
                         pl_weight=settings.pl_weight if settings.train_generator else 0.0)
        self.model, self.D, self.equipment = model, discriminator, equipment
        self.change_waves, self.masks = change_waves, masks
        self.main_calls = {"G": model.synthesis, "D": discriminator.judge}
        model.generator.requires_grad_(False)
        self.average = VoiceToFace(model.frontend, copy.deepcopy(model.encoder).eval(), copy.deepcopy(
            model.generator) if settings.train_generator else model.generator, model.card).eval().requires_grad_(False)
        self.networks = {"encoder": model.encoder, **self.terms.networks, "D": discriminator,
                         "encoder_ema": self.average.encoder}
        heard = [parameter for name in ("encoder", *self.terms.networks)
                 for parameter in self.networks[name].parameters()]
        groups = [(heard, settings.lr, None)]
        if settings.train_generator:
            self.networks |= {"G": model.generator, "G_ema": self.average.generator}
            lazy = settings.pl_interval if settings.pl_weight else None
            groups.append((model.generator.synthesis.parameters(), settings.g_lr, lazy))
        self.optimisers = {"G": lazy_adam_groups(groups, settings.betas), "D": lazy_adam_groups(
            [(discriminator.parameters(), settings.d_lr, settings.r1_interval if settings.gamma else None)],
            settings.betas)}
        # Voices give codes; nothing here asks the mapping network, so it stays.
        self.frozen = {id(parameter) for parameter in model.generator.mapping.parameters()}

    def finish(self, index, batch_size):
        """Moves what every adversarial step moves, and the averages."""
        super().finish(index, batch_size)
        beta = ema_beta(batch_size, ema_kimg=self.settings.ema_kimg, seen_images=index * batch_size,
                        rampup=self.settings.ema_rampup)
        update_ema(self.average.encoder, self.model.encoder, beta)
        if self.settings.train_generator:
            update_ema(self.average.generator, self.model.generator, beta)

    def _hear(self, batch, draw, encoder):  # -> ws [n, L, D], embeddings [n, E]
        """Returns an encoder's codes and embeddings of the voices, which are changed as in training."""
        waves = batch.waves if self.change_waves is None else self.change_waves(batch.waves, draw, batch)
        features = self.model.frontend(waves)
        if self.masks is not None:
            features = self.masks(features, draw("masks"), batch=batch)
        embeddings = encoder.embed(features)
        return self.model.mean_codes() + encoder.offsets(embeddings), embeddings

    def _real_logits(self, images, batch, draw):
        return self.D(self._augmented(images, Real(draw), batch), batch.labels if self.D.c_dim else None)

    def _g_main(self, batch, draw):
        with self._autocast():
            ws, embeddings = self._hear(batch, draw, self.model.encoder.train())
            images = self.main_calls["G"](ws)
            labels = batch.labels if self.D.c_dim else None
            logits, person_logits = self.main_calls["D"](self._augmented(images, draw, batch), labels)
        loss, stats = total(self.terms.loss(
            batch=batch, draw=draw, images=images, ws=ws.float(), embeddings=embeddings.float(), logits=logits,
            person_logits=person_logits))
        right = (person_logits.detach().argmax(1) == batch.people).float().mean()
        scores = logits.detach().float()
        return loss, {**stats, "Loss/G/loss": loss.detach(), "Loss/scores/fake": scores.mean(),
                      "Loss/signs/fake": scores.sign().mean(), "Loss/accuracy/fake": right}

    def _lengths(self, batch, draw):
        # The averaged encoder asks no other rank for batch statistics, and a rank may have no sample here.
        with torch.no_grad():
            ws, _ = self._hear(batch, draw, self.average.encoder)
        ws = ws.detach().requires_grad_(True)
        images = self.model.synthesis(ws)
        noise = torch.randn([batch.size, *images.shape[1:]], generator=draw("path"))
        return path_lengths(images, ws, batch.rows(noise).to(self.device))

    def _d_main(self, batch, draw):
        with self._autocast():
            with torch.no_grad():
                images = self.main_calls["G"](self._hear(batch, draw, self.model.encoder.train())[0])
            both = torch.cat([self._augmented(images, draw, batch), self._augmented(batch.images, Real(draw), batch)])
            labels = batch.labels.repeat(2, 1) if self.D.c_dim else None
            logits, people = self.main_calls["D"](both, labels, batches=2)
            (fake_logits, real_logits), person_logits = logits.chunk(2), people.chunk(2)[1]
        loss = discriminator_loss(real_logits.float(), fake_logits.float())
        extra, stats = total(self.terms.loss(batch=batch, draw=draw, side="D", person_logits=person_logits))
        right = (person_logits.detach().argmax(1) == batch.people).float().mean()
        return loss + extra, {**stats, **self._saw(real_logits, batch), "Loss/D/loss": loss.detach(),
                              "Loss/accuracy/real": right}
