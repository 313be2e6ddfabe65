"""What the tasks share.

- example_task: the way from a file of examples to a task that can be fitted; format: what it asks of each task
- text_task: the same way from one long text; windows: the pieces of it that are trained on
- task: fit, save, load; start: beginning from a pretrained model; settings: the keywords of from_data and from_text
- objective: the loss and the figures of a batch; encoding: texts as rows of ids
- prediction: a trained model on many inputs; attention: what it looks at
"""
