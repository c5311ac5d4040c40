"""The ledger as JSON files that other programs can read.

``workflow_executions/<execution_id>.json``   one logged execution each, its record
``workflow_operations/<operation_id>.json``   one operation each
``execution_history/<workflow_id>.jsonl``     Coze's executions: a journal, a record on each line
``execution_history/<workflow_id>.json``      the same as of the last snapshot, newest first
``runs/<source>/<app>.jsonl``                 the runs of all other apps, with their details
``journals/*.jsonl``                          logged executions, operations, letters, keys
``format.json``                               the version of all this

What counts are the journals: a write is appended to one, synced, and acknowledged then.  The single files and
the snapshots are written from them.  Memory holds an index of each journal that was asked for, some 500 bytes
a run, and no body; it is built by reading the journal once and goes on where the journal goes on.
"""
