"""Within the engines that others built around torch: one training each, on a model of its own, and what torch's optimizer makes of it."""

import logging

import pytest
import torch
from torch import nn

import fusestep.torch


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))


def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, 5, generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 8)


def loss_of(m, x, y):
    return nn.functional.mse_loss(m(x), y)


def close(train):
    """Holds what train(make) makes of a model with our optimizer to what it makes with torch's, and to the start."""
    ours, torchs = train(fusestep.torch.AdamW), train(lambda *args, **kwargs: torch.optim.AdamW(*args, **kwargs, foreach=False))
    for p, q, start in zip(ours.parameters(), torchs.parameters(), model().parameters()):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        assert (p - start).abs().max() > 0.01


@pytest.mark.parametrize("accumulate", [1, 2])
def test_accelerate(accumulate, tmp_path):
    """Hugging Face's, with accumulated gradients, clipping, a schedule, and a state that is saved and loaded."""
    from accelerate import Accelerator

    def train(make):
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
        m = model()
        optimizer = make(m.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)
        m, optimizer, batches, schedule = accelerator.prepare(m, optimizer, data(), schedule)
        for epoch in range(3):
            for x, y in batches:
                with accelerator.accumulate(m):
                    accelerator.backward(loss_of(m, x, y))
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(m.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
            accelerator.save_state(tmp_path / "state")
            for p in m.parameters():
                p.data.zero_()
            optimizer.state.clear()
            accelerator.load_state(tmp_path / "state")
        return accelerator.unwrap_model(m)

    close(train)


def test_lightning(tmp_path):
    """With clipping, a schedule, and a training that goes on from a checkpoint."""
    import pytorch_lightning

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    def train(make):
        class Module(pytorch_lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.inner = model()

            def training_step(self, batch, i):
                return loss_of(self.inner, *batch)

            def configure_optimizers(self):
                optimizer = make(self.parameters(), lr=0.01)
                return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)]

        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False, "logger": False}
        for epochs, start in ((2, None), (4, tmp_path / "half.ckpt")):
            module = Module()
            trainer = pytorch_lightning.Trainer(accelerator="cpu", max_epochs=epochs, gradient_clip_val=1.0, default_root_dir=tmp_path, **quiet)
            trainer.fit(module, data(), ckpt_path=start)
            trainer.save_checkpoint(tmp_path / "half.ckpt")
        return module.inner

    close(train)
