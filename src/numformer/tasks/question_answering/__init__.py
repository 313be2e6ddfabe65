"""Question answering: format, windows of long contexts, objective, and the task that has them."""

from numformer.tasks.question_answering.answerer import QuestionAnswerer as QuestionAnswerer
