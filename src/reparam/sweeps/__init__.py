"""Many runs from one file: estimators, temperatures, seeds; on this machine or a cluster."""
