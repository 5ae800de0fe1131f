# Reference values for psychometric meta-analysis (Hunter & Schmidt, 2004).
# Rscript tests/reference/hunter_schmidt.R > tests/reference/hunter_schmidt.json
# The inputs are part of the file. Needs metafor with its data sets (metadat).

suppressMessages(library(metafor))

vector_ <- function(x) {
  x <- as.numeric(x)
  paste0("[", paste(formatC(x, digits = 17, format = "g"), collapse = ", "), "]")
}
number <- function(x) formatC(as.numeric(x), digits = 17, format = "g")
object <- function(...) {
  items <- list(...)
  paste0("{", paste0("\"", names(items), "\": ", unlist(items), collapse = ", "), "}")
}

set.seed(20181)
reliabilities <- function(k, low, high) round(runif(k, low, high), 2)
make <- function(dat, low, high) {
  list(
    r = dat$ri, n = dat$ni,
    rxx = reliabilities(nrow(dat), low, high), ryy = reliabilities(nrow(dat), low, high)
  )
}
first_of_each <- dat.crede2010[!duplicated(dat.crede2010[c("studyid", "sampleid")]), ]
sets <- list(
  molloy2014 = make(dat.molloy2014, 0.7, 0.95),
  crede2010 = make(first_of_each, 0.6, 0.98),
  mcdaniel1994 = make(dat.mcdaniel1994[!is.na(dat.mcdaniel1994$ri), ], 0.5, 1),
  # less spread than sampling error gives
  homogeneous = list(
    r = c(0.24, 0.27, 0.26, 0.28, 0.25), n = c(41, 85, 60, 33, 120),
    rxx = c(0.9, 0.85, 0.92, 0.88, 0.9), ryy = c(0.8, 0.8, 0.85, 0.78, 0.82)
  )
)

# the book's formulas; weights are sample sizes, and n times the squared attenuation factor
moments <- function(y, w, var_error, ci_level, credibility_level) {
  k <- length(y)
  mean <- sum(w * y) / sum(w)
  var_observed <- sum(w * (y - mean)^2) / sum(w)
  var_residual <- max(0, var_observed - var_error)
  se <- sqrt(var_observed) / sqrt(k)
  q <- qnorm(1 - (1 - ci_level) / 2)
  c <- qnorm(1 - (1 - credibility_level) / 2)
  object(
    mean = number(mean), se = number(se), ci_low = number(mean - q * se),
    ci_high = number(mean + q * se), var_observed = number(var_observed),
    var_error = number(var_error), var_residual = number(var_residual),
    sd_residual = number(sqrt(var_residual)), percent_error = number(100 * var_error / var_observed),
    credibility_low = number(mean - c * sqrt(var_residual)),
    credibility_high = number(mean + c * sqrt(var_residual))
  )
}

analyse <- function(set, ci_level, credibility_level) {
  r <- set$r
  n <- set$n
  fit <- rma(measure = "COR", ri = r, ni = n, vtype = "AV", method = "HS", weights = n)
  rbar <- coef(fit)
  # sampling variances of metafor are (1 - rbar^2)^2 / (n - 1); their harmonic mean is the book's
  var_error <- length(r) / sum(1 / fit$vi)
  # weighted by n, as in the book, metafor's HS estimator is var_observed - var_error
  book <- rma(r, var_error * mean(n) / n, method = "HS")

  A <- sqrt(set$rxx * set$ryy)
  w <- n * A^2
  ve <- (1 - (sum(n * r) / sum(n))^2)^2 / (n - 1) / A^2
  object(
    ci_level = number(ci_level), credibility_level = number(credibility_level),
    k = length(r), n_total = number(sum(n)),
    metafor = object(mean = number(rbar), var_error = number(var_error), var_residual = number(book$tau2)),
    bare_bones = moments(
      r, n, (1 - (sum(n * r) / sum(n))^2)^2 / (sum(n) / length(n) - 1), ci_level, credibility_level
    ),
    corrected = moments(r / A, w, sum(w * ve) / sum(w), ci_level, credibility_level)
  )
}

results <- c()
for (name in names(sets)) {
  for (levels in list(c(0.95, 0.8), c(0.9, 0.95))) {
    values <- analyse(sets[[name]], levels[1], levels[2])
    results <- c(results, paste0("{\"set\": \"", name, "\", ", substring(values, 2)))
  }
}

as_set <- function(set) {
  object(r = vector_(set$r), n = vector_(set$n), rxx = vector_(set$rxx), ryy = vector_(set$ryy))
}
writeLines(c(
  "{",
  paste0("\"versions\": ", object(
    R = paste0("\"", getRversion(), "\""), metafor = paste0("\"", packageVersion("metafor"), "\"")
  ), ","),
  "\"sets\": {",
  paste0("\"", names(sets), "\": ", sapply(sets, as_set), collapse = ",\n"),
  "},",
  "\"results\": [",
  paste(results, collapse = ",\n"),
  "]",
  "}"
))
