"""How each preset is trained: one table of recipes, each with its command, time and score.

A recipe is of notes, of a codec, or of a codec's codes; `musicgen train --preset NAME --data DIR --out RUN` trains it.
The scripts in runs/ are the whole way from an archive to released weights, with these presets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from musicgen.data_prep.dataset.augment import Augmentation
from musicgen.data_prep.dataset.mixture import Mixing
from musicgen.data_prep.vocabulary import SPECIALS, VOCABULARY, VOCABULARY_2, Vocabulary
from musicgen.model.codec.config import CODEC_PRESETS
from musicgen.model.codec.discriminators import DiscriminatorConfig
from musicgen.model.codec.losses import LossConfig
from musicgen.model.codec.step import CodecTrainConfig
from musicgen.model.config import PRESETS, ModelConfig
from musicgen.model.training.config import TrainConfig
from musicgen.model.training.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training run of a model of notes, and its data.

    later: (share of all steps, augmentation) that takes over at that point of the run.
    validation_pieces: how many of each corpus are scored at a checkpoint.  mixing: of rows with gaps and styles from
    several corpora; None: plain windows.  shares: of the corpora in such rows, by the names of their folders;
    gap_shares: in those with gaps, if others.
    """

    train: TrainConfig
    augmentation: Augmentation
    later: tuple[tuple[float, Augmentation], ...] = ()
    validation_pieces: int = 12
    mixing: Mixing | None = None
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    gap_shares: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def vocabulary(self) -> Vocabulary:
        """What its tokens are of."""
        return VOCABULARY if self.mixing is None else VOCABULARY_2

    def changes(self) -> list[tuple[int, Augmentation]]:
        """`later` in windows drawn, as the loader counts."""
        windows = self.train.steps * self.train.batch
        return [(round(share * windows), augmentation) for share, augmentation in self.later]


@dataclasses.dataclass(frozen=True)
class CodesRecipe:
    """A training run of a model of sound over a codec's codes."""

    train: TrainConfig

    def over(self, codebooks: int, codebook_size: int) -> TrainConfig:
        """The run over the codes of such a codec: as many codes of context and latents, in whole frames."""
        model = self.train.model
        frames = model.context * model.channels // (8 * codebooks) * 8  # all_contexts halves a context three times
        model = dataclasses.replace(
            model,
            channels=codebooks,
            vocab_size=codebook_size + SPECIALS,
            context=frames,
            latents=frames * model.latents // model.context,
        )
        return dataclasses.replace(self.train, model=model)


@dataclasses.dataclass(frozen=True)
class CodecRecipe:
    """A training run of an audio codec.  validation_rows: pieces of `validation_seconds` scored at a checkpoint."""

    train: CodecTrainConfig
    validation_rows: int = 32
    validation_seconds: int = 4


# Strong enough that after ten epochs training is no better than validation; the mild one is nearer to real music.
STRONG = Augmentation(semitones=6, stretch=0.12, loudness=0.1, velocity=10, jitter=0.003)
MILD = Augmentation(semitones=6, stretch=0.08, velocity=8)
CALM = dataclasses.replace(STRONG, jitter=0.0)  # notes stay where they were played

TOY = ModelConfig(width=32, heads=2, kv_heads=1, local_layers=0, cross_attends=1, layers=1, context=128, latents=32)
TOY_OPTIMIZER = OptimizerConfig(learning_rate=1e-2, adam_learning_rate=1e-2, warmup_steps=5)

# Of the corpora that `piano` learns from.  MAESTRO stood still on validation while it was learnt by heart with 0.43
# (checkpoints/LOG.md, section 14); fills of PiJAMA were what fell short (section 15).
SHARES = {"maestro-v3.0.0": 0.36, "pijama": 0.36, "supra": 0.09, "asap": 0.08, "emopia": 0.02, "pop909": 0.09}
GAP_SHARES = {**SHARES, "maestro-v3.0.0": 0.28, "pijama": 0.44}

# Scores are nats a token on MAESTRO's validation and test split; the paper's model has 1.90 and 1.91.
NOTES: dict[str, Recipe] = {
    # musicgen train --preset toy --data shards --out run
    # Seconds on a CPU: enough to see that all works.
    "toy": Recipe(
        TrainConfig(
            TOY,
            TOY_OPTIMIZER,
            steps=10,
            batch=4,
            steps_per_dispatch=5,
            dropout=0.0,
            all_settings=False,
        ),
        MILD,
        validation_pieces=1,
    ),
    # musicgen train --preset toy-piano --data shards --out run
    # Seconds on a CPU: as `piano`, to its last line.
    "toy-piano": Recipe(
        TrainConfig(
            dataclasses.replace(TOY, context=256, latents=64),
            TOY_OPTIMIZER,
            steps=10,
            batch=24,
            steps_per_dispatch=5,
            dropout=0.0,
            gaps=True,
            averaged=4,
            four_bits_from=0.5,
        ),
        STRONG,
        later=((0.5, CALM),),
        validation_pieces=1,
        mixing=Mixing(),
    ),
    # musicgen train --preset tiny --data shards --out run
    # Two cores of a CPU: three minutes for its 20 steps, 6 to 7 s each; enough to see that all works, not for music.
    # checkpoints/maestro-tiny: --steps 12000 --batch 32, 4 minutes on an H200, 1.933 and 1.860 (runs/maestro-tiny.sh).
    "tiny": Recipe(
        TrainConfig(
            PRESETS["tiny"],
            OptimizerConfig(learning_rate=4e-3, warmup_steps=50),
            steps=20,
            steps_per_dispatch=5,
            dropout=0.0,
            checkpoint_every=50,
        ),
        MILD,
        validation_pieces=2,
    ),
    # musicgen train --preset small --data shards --out run
    # Neither timed nor scored.
    "small": Recipe(TrainConfig(PRESETS["small"], steps=5_000), MILD),
    # musicgen train --preset release --data shards --out run --workers 8
    # maestro-piano, the default weights of earlier versions: 13 minutes on an H200, 1.753 and 1.684; 1.722 and 1.646
    # scored with a context of 16,384 (runs/maestro.sh).
    "release": Recipe(
        TrainConfig(
            PRESETS["release"],
            OptimizerConfig(learning_rate=5e-3, adam_learning_rate=5e-3),
            steps=14_000,
            dropout=0.2,
            token_dropout=0.03,
            checkpoint_every=2_500,
        ),
        STRONG,
        later=((0.75, MILD),),
    ),
    # musicgen train --preset piano --data shards --out run --workers 22
    # 75.1 M parameters, 40.3 MiB in four bits: wide, for the sake of GPUs, and shallow, for a CPU's caches of keys and
    # values.  What runs/piano/leg.py trains by the clock: 25 minutes on two H200 (checkpoints/LOG.md, section 16).
    "piano": Recipe(
        TrainConfig(
            ModelConfig(width=896, heads=14, kv_heads=2, layers=5),
            OptimizerConfig(learning_rate=4e-3, adam_learning_rate=4e-3, warmup_steps=300, decay=0.55),
            steps=15_000,
            batch=48,
            dropout=0.2,
            token_dropout=0.03,
            gaps=True,
            averaged=600,
            four_bits_from=0.88,
            checkpoint_every=2_500,
        ),
        STRONG,
        later=((0.7, CALM),),
        mixing=Mixing(),
        shares=SHARES,
        gap_shares=GAP_SHARES,
    ),
    # musicgen train --preset piano-tiny --data shards --out run --workers 8
    # `tiny`, of what `piano` learns from; with few parameters nothing is learnt by heart, so nothing is hidden.  A gap
    # has to fit into 512 latents.  checkpoints/piano-tiny: 6,936 steps of runs/piano/leg.py, 6.4 minutes on an H200
    # that waited for rows (runs/piano-tiny.sh).
    "piano-tiny": Recipe(
        TrainConfig(
            PRESETS["tiny"],
            OptimizerConfig(learning_rate=4e-3, adam_learning_rate=4e-3, warmup_steps=300, decay=0.55),
            steps=7_000,
            batch=48,
            dropout=0.0,
            gaps=True,
            averaged=600,
            four_bits_from=0.88,
            checkpoint_every=2_500,
        ),
        MILD,
        mixing=Mixing(longest=470),
        shares=SHARES,
        gap_shares=GAP_SHARES,
    ),
    # musicgen train --preset large --data shards --out run --workers 8
    # 15 minutes on an H200: 1.742 on 13 pieces of validation, `release` has 1.736 (checkpoints/LOG.md, section 9).
    "large": Recipe(
        TrainConfig(
            PRESETS["large"],
            OptimizerConfig(learning_rate=3e-3, adam_learning_rate=3e-3),
            steps=5_600,
            dropout=0.2,
            token_dropout=0.03,
        ),
        STRONG,
        later=((0.9, MILD),),
    ),
    # musicgen train --preset fine-tune --start piano --data my-shards --out run
    # Half of `release`'s learning rates, as in the second run of piano-codes; the model's shape is that of --start.
    # 1,000 steps of 47 ms on an H200.  Not scored: that depends on the music.
    "fine-tune": Recipe(
        TrainConfig(
            PRESETS["release"],
            OptimizerConfig(learning_rate=2.5e-3, adam_learning_rate=2.5e-3, decay=0.7),
            steps=1_000,
            dropout=0.2,
            checkpoint_every=250,
        ),
        MILD,
    ),
}

# 65,536 codes of context at the most: 4,096 frames of 16, 55 s; 41.7 M parameters.
SOUND = ModelConfig(
    vocab_size=1_024 + SPECIALS,
    width=512,
    heads=8,
    kv_heads=2,
    local_layers=1,
    local_window=64,
    cross_attends=2,
    layers=6,
    context=4_096,
    latents=1_024,
    channels=16,
    depth_layers=3,
)
ON_RECORDINGS = TrainConfig(
    SOUND,
    OptimizerConfig(learning_rate=5e-3, adam_learning_rate=5e-3, decay=0.7),
    steps=19_600,
    dropout=0.1,
    checkpoint_every=2_500,
)
TOY_CODES = TrainConfig(
    dataclasses.replace(
        SOUND,
        width=64,
        heads=2,
        kv_heads=1,
        local_window=8,
        cross_attends=1,
        layers=2,
        widening=2,
        context=32,
        latents=8,
        code_width=16,
        depth_layers=1,
        depth_width=32,
    ),
    OptimizerConfig(learning_rate=5e-3, adam_learning_rate=5e-3, warmup_steps=10),
    steps=10,
    batch=4,
    steps_per_dispatch=5,
    dropout=0.0,
    all_settings=False,
)

# Scores are nats a code on the held-out renders of MAESTRO's validation and test split, N = 65,536 codes.
CODES: dict[str, CodesRecipe] = {
    # musicgen train --preset piano-codes --data set/codes --out run
    # 15 minutes on an H200; test 2.886.  What it writes gets louder and louder: it has to go on with the next recipe.
    "piano-codes": CodesRecipe(ON_RECORDINGS),
    # musicgen train --preset piano-codes-sampled --start run/weights --data set/codes --out run2
    # Scheduled sampling: up to all frames of a row are the model's own.  checkpoints/piano-codes: 18 minutes on an
    # H200, 2.819 and 2.837 (runs/piano-codes.sh).
    "piano-codes-sampled": CodesRecipe(
        dataclasses.replace(
            ON_RECORDINGS,
            optimizer=OptimizerConfig(learning_rate=2.5e-3, adam_learning_rate=2.5e-3, decay=0.7),
            steps=9_800,
            dropout=0.0,
            sampled_rate=1.0,
            sampled_from=0.0,
            sampled_passes=4,
        )
    ),
    # musicgen train --preset toy-codes --data set/codes --out run, and the same with scheduled sampling
    # Seconds on a CPU: enough to see that all works.
    "toy-codes": CodesRecipe(TOY_CODES),
    "toy-codes-sampled": CodesRecipe(dataclasses.replace(TOY_CODES, sampled_rate=1.0, sampled_from=0.0)),
}

CODECS: dict[str, CodecRecipe] = {
    # musicgen train --preset piano-codec --data set --out run
    # 18 minutes on an H200, not run yet; checkpoints/codecs/piano had 632 seconds, a quarter of them with
    # discriminators: mel distance 1.10 and SI-SDR 10.4 dB at 6 kbps on the run's own validation pieces, 1.20 and 9.9 dB
    # on test.  The clock decides how far a run is: 28,520 steps there, the last 2,780 with discriminators, DAC's at a
    # quarter of their cost.  With --steps the steps do.
    "piano-codec": CodecRecipe(
        CodecTrainConfig(
            CODEC_PRESETS["piano-mdct"],
            DiscriminatorConfig(period_channels=(16, 64, 256, 512, 512), band_channels=16),
            LossConfig(features=1.0, adversarial=0.5),
            seconds=1_080,
            adversarial_from=0.8,
        )
    ),
    # musicgen train --preset toy-codec --data set --out run
    # Seconds on a CPU: enough to see that all works.
    "toy-codec": CodecRecipe(
        CodecTrainConfig(
            CODEC_PRESETS["toy-mdct"],
            DiscriminatorConfig((3,), (2, 4), (64,), 2, (0.0, 1.0)),
            LossConfig(windows=(128, 1024), mels=(10, 80)),
            steps=10,
            adversarial_from=0.5,
            batch=4,
            samples=6_400,
            discriminator_samples=3_200,
            steps_per_dispatch=5,
            warmup_steps=5,
        ),
        validation_rows=2,
        validation_seconds=1,
    ),
}


def _over_events(recipe: Recipe) -> Recipe:
    """The recipe of a model whose tokens are those of its vocabulary."""
    model = dataclasses.replace(recipe.train.model, vocab_size=recipe.vocabulary.size)
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, model=model))


RECIPES: dict[str, Recipe | CodesRecipe | CodecRecipe] = {
    **{name: _over_events(recipe) for name, recipe in NOTES.items()},
    **CODES,
    **CODECS,
}
