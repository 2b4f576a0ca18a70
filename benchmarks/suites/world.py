"""The drawn world: faces and voices a second on one core."""

import statistics

from benchmarks.measuring import interleaved


def suite_world(rounds):
    """The drawn world on one core: faces of 64² a second, speech against real time."""
    import torch

    from voice2style.demo.world import World

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    world = World(seed=0)
    people = world.people(range(512))
    faces = interleaved({"faces": lambda: world.faces(people, 0, 64)}, rounds)["faces"]
    voices = interleaved({"voices": lambda: [world.voice(person, 0, 5.0) for person in range(8)]}, rounds)["voices"]
    torch.set_num_threads(threads)
    face_rate, speech_rate = 512 / statistics.median(faces), 40 / statistics.median(voices)
    return [{"work": "drawn faces at 64², one core", "ours_s": 1 / face_rate, "reference": "1 s", "reference_s": 1.0,
             "ratio": face_rate, "target": "300 faces/s", "met": face_rate >= 300},
            {"work": "synthesised speech, one core", "ours_s": 1 / speech_rate, "reference": "real time",
             "reference_s": 1.0, "ratio": speech_rate, "target": "50 × real time", "met": speech_rate >= 50}]
