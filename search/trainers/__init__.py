"""The contract that every trainer keeps, and its plain form by `keras.Model.fit`."""
