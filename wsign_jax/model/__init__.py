"""The network in Flax NNX.

Dimensions, in every shape of this package: B batch, T frames, J joints, F features, N patches, D model
width, H heads, K head width, M MLP width, U labels, V vocabulary.
"""
