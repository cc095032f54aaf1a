"""Statistics of accuracies: intervals, paired tests, Student's t, ROC curves."""
