# Reference values for the exact permutation tests of moderators and of a mean.
# Rscript tests/reference/permutation.R > tests/reference/permutation.json
# The inputs are part of the file. Needs metafor.

suppressMessages(library(metafor))

# REML, ML and EB converge to 1e-5 in metafor and PM to 1e-4 unless told otherwise; below 1e-12
# some permutations never settle
control <- list(threshold = 1e-12, maxiter = 1e5, tol = 1e-15)

vector_ <- function(x) {
  x <- as.numeric(x)
  out <- ifelse(is.finite(x), formatC(x, digits = 17, format = "g"), "null")
  paste0("[", paste(out, collapse = ", "), "]")
}
number <- function(x) {
  x <- as.numeric(x)
  ifelse(is.finite(x), formatC(x, digits = 17, format = "g"), "null")
}
quoted <- function(x) paste0("\"", x, "\"")
object <- function(...) {
  items <- list(...)
  paste0("{", paste0("\"", names(items), "\": ", unlist(items), collapse = ", "), "}")
}

set.seed(20182)
simulate <- function(levels, x, tau2) {
  k <- length(x)
  n <- sample(12:240, k)
  y <- 0.28 + 0.12 * (levels == "b") + 0.01 * (x - mean(x)) + rnorm(k, 0, sqrt(tau2 + 1 / (n - 3)))
  list(y = round(y, 4), v = 1 / (n - 3), level = levels, x = x)
}
sets <- list(
  unequal = simulate(rep(c("a", "b"), c(5, 3)), c(1991, 2001, 2004, 2004, 2010, 1998, 2012, 2015), 0.03),
  equal = simulate(rep(c("a", "b"), 4), c(1991, 2001, 2004, 2004, 2010, 1998, 2012, 2015), 0.02),
  three = simulate(rep(c("a", "b", "c"), c(3, 3, 2)), c(1991, 2001, 2004, 2004, 2010, 1998, 2012, 2015), 0.03),
  years = simulate(rep(c("a", "b"), c(4, 3)), c(1991, 2001, 2004, 2006, 2010, 1998, 2012), 0.04),
  small = simulate(rep(c("a", "b"), 3), c(1991, 2001, 2004, 2006, 2010, 1998), 0.02),
  # no difference between studies beyond sampling error: many permutations with tau2 = 0
  homogeneous = simulate(rep(c("a", "b"), 4), c(1991, 2001, 2004, 2004, 2010, 1998, 2012, 2015), 0)
)

tests <- c(z = "z", t = "t", knapp_hartung = "knha", knapp_hartung_conservative = "adhoc")
runs <- c()
record <- function(set, moderators, method, inference) {
  dat <- as.data.frame(sets[[set]])
  formula <- as.formula(paste("~", if (moderators == "") "1" else moderators))
  fit <- rma(y, v,
    mods = formula, data = dat, method = method, test = tests[[inference]], control = control
  )
  test <- permutest(fit, exact = TRUE, progbar = FALSE)
  # a permutation that metafor could not fit would be left out of its p-values
  stopifnot(!anyNA(test$QM.perm))
  runs <<- c(runs, object(
    set = quoted(set), moderators = quoted(moderators), tau2 = quoted(method),
    inference = quoted(inference), statistic = vector_(test$zval), p = vector_(test$pval),
    QM = number(test$QM), QM_p = number(test$QMp), permutations = number(length(test$QM.perm))
  ))
}

for (inference in names(tests)) {
  record("unequal", "level", "REML", inference)
  record("three", "level", "REML", inference)
  record("equal", "", "REML", inference)
}
for (method in c("DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM")) {
  for (inference in c("z", "knapp_hartung")) {
    record("equal", "level", method, inference)
    record("unequal", "", method, inference)
  }
  record("homogeneous", "level", method, "knapp_hartung")
}
record("equal", "level", "FE", "z")
record("three", "level", "FE", "z")
record("unequal", "", "FE", "z")
for (inference in c("z", "knapp_hartung")) {
  record("small", "level + x", "DL", inference)
  record("small", "level + x", "REML", inference)
}
record("small", "x", "PM", "t")
record("years", "x", "REML", "knapp_hartung")

as_set <- function(set) {
  object(
    y = vector_(set$y), v = vector_(set$v),
    level = paste0("[", paste0(quoted(set$level), collapse = ", "), "]"), x = vector_(set$x)
  )
}
writeLines(c(
  "{",
  paste0("\"versions\": ", object(
    R = quoted(getRversion()), metafor = quoted(packageVersion("metafor"))
  ), ","),
  "\"sets\": {",
  paste0("\"", names(sets), "\": ", sapply(sets, as_set), collapse = ",\n"),
  "},",
  "\"tests\": [",
  paste(runs, collapse = ",\n"),
  "]",
  "}"
))
