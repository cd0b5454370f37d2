# %% [markdown]
# # The idea on two numbers
#
# Which part of which training example taught a model its answer? In ridge regression on the plane
# the answer is known exactly (bacha2025training, appendix A), so it can be checked by hand.
#
# The truth is `f*(x) = x₂`. All training examples but one lie on the first axis and carry the
# label 0: they say nothing about `x₂`. One informative example lies on the second axis.

# %%
import torch

from captum_tfa import TrainingGradDot

axis = torch.tensor([1.0, -2.0, 0.5, 1.5], dtype=torch.float64)
informative, strength = 3.0, 0.7  # b and λ
x = torch.cat([torch.stack([axis, 0 * axis], 1), torch.tensor([[0.0, informative]]).double()])
y = torch.cat([0 * axis, torch.tensor([informative]).double()])
phi = x.T @ x + strength * torch.eye(2, dtype=torch.float64)
weights = torch.linalg.solve(phi, x.T @ y)
print("fitted weights:", weights.tolist())

# %% [markdown]
# ## Which example?
#
# The prediction is a sum over training examples, `f(x) = Σ_i y_i x_iᵀ Φ⁻¹ x` with
# `Φ = XᵀX + λI`: the representer decomposition. At a test point on the second axis all of it
# comes from the informative example.

# %%
test = torch.tensor([0.0, 2.0], dtype=torch.float64)
of_examples = y * (x @ torch.linalg.solve(phi, test))
print("parts of the prediction by example:", of_examples.tolist())
print("their sum and the prediction:", float(of_examples.sum()), float(weights @ test))

# %% [markdown]
# ## Which feature of it?
#
# The same sum, one feature at a time: `y_i x_ij (Φ⁻¹ x)_j`. Only the second feature of the
# informative example counts.

# %%
of_features = y[:, None] * x * torch.linalg.solve(phi, test)
print("parts by example (rows) and feature (columns):")
print(of_features)

# %% [markdown]
# ## The same question to a model without a closed form
#
# A deep network has no such decomposition. `TrainingGradDot` asks the gradients instead: how does
# a small change of a training example change its influence on the test point? On the fitted
# model it puts all its mass on the second feature of the informative example, too.

# %%
model = torch.nn.Linear(2, 1, bias=False).double().eval()
with torch.no_grad():
    model.weight.copy_(weights)
tfa = TrainingGradDot(model, loss_fn=torch.nn.MSELoss(reduction="none"))
label = test[None, 1:]  # the truth at the test point, x₂
maps = tfa.attribute(x[-1:], target=y[-1:, None], additional_forward_args=(test[None], label))
share = maps.abs() / maps.abs().sum()
print("share of the map by feature:", share[0].tolist())
