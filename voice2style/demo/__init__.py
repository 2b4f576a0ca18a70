"""The drawn world: an endless, seeded source of paired voices and faces with known ground truth."""
