"""`run.json` as versions before `RunRecord` wrote it, letter by letter."""

from __future__ import annotations

BEGUN = """{
  "title": "recipe tiny",
  "asked": {
    "candidate": "ccf86705027b93a8",
    "data": "e92c22852c0a1eb812dd7a75aeea9e83b7b6f7623a1365cfef778bef2819e1ec",
    "epochs": null,
    "time_budget": null,
    "val_size": null,
    "keep": null,
    "tta": false,
    "seed": 0,
    "train_size": null
  },
  "epochs": 3.0,
  "lr": 0.1,
  "device": "CPU with 1 thread, bfloat16",
  "source": "toy.npz",
  "train_images": 300,
  "val_images": 100,
  "history": []
}
"""
"""Written when a run began; its checkpoint held the history."""

FINISHED = """{
  "title": "recipe tiny",
  "asked": {
    "candidate": "ccf86705027b93a8",
    "data": "e92c22852c0a1eb812dd7a75aeea9e83b7b6f7623a1365cfef778bef2819e1ec",
    "epochs": null,
    "time_budget": null,
    "val_size": null,
    "keep": null,
    "tta": false,
    "seed": 0,
    "train_size": null
  },
  "epochs": 3.0,
  "lr": 0.1,
  "device": "CPU with 1 thread, bfloat16",
  "source": "toy.npz",
  "train_images": 300,
  "val_images": 100,
  "history": [
    {
      "epoch": 1,
      "train_loss": 1.4041225910186768,
      "train_accuracy": 0.2578125,
      "val_loss": 1.3869972229003906,
      "val_accuracy": 0.23000000417232513,
      "lr": 0.08535533905932738,
      "images": 256,
      "seconds": 0.14101316899996164
    },
    {
      "epoch": 2,
      "train_loss": 1.3882911205291748,
      "train_accuracy": 0.26171875,
      "val_loss": 1.3835197687149048,
      "val_accuracy": 0.33000001311302185,
      "lr": 0.03705904774487396,
      "images": 256,
      "seconds": 0.03771723399995608
    },
    {
      "epoch": 3,
      "train_loss": 1.3894224166870117,
      "train_accuracy": 0.2421875,
      "val_loss": 1.3830076456069946,
      "val_accuracy": 0.3100000023841858,
      "lr": 0.00170370868554659,
      "images": 256,
      "seconds": 0.038660141000036674
    }
  ],
  "finished": true,
  "parameters": 3980,
  "macs": 447520,
  "seconds": 0.2173905439999544
}
"""
"""Written when a run was finished."""
