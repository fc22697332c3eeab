"""What every orchestrator must make of the same pipelines: one lineage graph, ids apart.

pipelines   the pipelines, as data: tasks, their bodies, what they read and declare
facts       what must be true afterwards, stated once: subclass `PipelineFacts` and give it an orchestrator
plain       the first orchestrators: `@hw.step` in one thread, in threads, in processes
"""
