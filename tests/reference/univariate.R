# Reference values for the univariate models on published data: all estimators of tau², all
# inferences, information criteria, both prediction intervals, explained heterogeneity, and
# predictions of the studies' true effects.
# Rscript tests/reference/univariate.R > tests/reference/univariate.json
# The inputs are part of the file. Needs metafor, metadat.

suppressMessages(library(metafor))

# REML, ML and EB converge to 1e-5 in metafor and PM to 1e-4 unless told otherwise
control <- list(threshold = 1e-14, maxiter = 1e5, tol = 1e-15)

number <- function(x) {
  x <- as.numeric(x)
  ifelse(is.finite(x), formatC(x, digits = 17, width = 1, format = "g"), "null")
}
vector_ <- function(x) paste0("[", paste(number(x), collapse = ", "), "]")
quote_ <- function(x) paste0("\"", x, "\"")
text <- function(x) paste0("[", paste(quote_(x), collapse = ", "), "]")
object <- function(...) {
  items <- unlist(list(...))
  paste0("{", paste0(quote_(names(items)), ": ", items, collapse = ", "), "}")
}

published <- function(y, v, level, x) {
  data.frame(y = as.numeric(y), v = as.numeric(v), level = as.character(level), x = as.numeric(x))
}
bcg <- escalc("RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
adherence <- escalc("ZCOR", ri = ri, ni = ni, data = dat.molloy2014)
writing <- subset(dat.bangertdrowns2004, !is.na(length))
# homogeneous: nearly all estimators give zero
lidocaine <- escalc("RD", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.hine1989)
sets <- list(
  bcg = with(bcg, published(yi, vi, alloc, ablat)),
  adherence = with(adherence, published(yi, vi, design, quality)),
  writing = with(writing, published(yi, vi, paste("grade", grade), length)),
  lidocaine = with(lidocaine, published(yi, vi, "all", (n1i + n2i) / 100))
)

fits <- c()
record <- function(set, tau2, inference, moderators) {
  dat <- sets[[set]]
  dat$level <- factor(dat$level)
  fit_with <- function(moderators) {
    formula <- as.formula(paste("~", if (moderators == "") "1" else moderators))
    test <- c(z = "z", t = "t", knapp_hartung = "knha", knapp_hartung_conservative = "adhoc")[[inference]]
    rma(y, v, mods = formula, data = dat, method = tau2, test = test, control = control)
  }
  fit <- fit_with(moderators)
  statistics <- fit$fit.stats[, if (tau2 == "REML") "REML" else "ML"]
  names(statistics) <- rownames(fit$fit.stats)
  values <- list(
    terms = text(rownames(fit$b)), b = vector_(fit$b), se = vector_(fit$se),
    statistic = vector_(fit$zval), p = vector_(fit$pval),
    ci_low = vector_(fit$ci.lb), ci_high = vector_(fit$ci.ub),
    tau2_value = number(fit$tau2), I2 = number(fit$I2), H2 = number(fit$H2),
    Q = number(fit$QE), Q_df = number(fit$k - fit$p), Q_p = number(fit$QEp),
    log_likelihood = number(logLik(fit)), AIC = number(statistics["AIC"]),
    AICc = number(statistics["AICc"]), BIC = number(statistics["BIC"])
  )
  if (inference == "z") {
    # Q-profile; searched by uniroot
    ends <- confint(fit, control = list(tol = 1e-12))$random
    values <- c(values,
      tau2_ci = vector_(ends["tau^2", 2:3]), tau_ci = vector_(ends["tau", 2:3]),
      I2_ci = vector_(ends["I^2(%)", 2:3]), H2_ci = vector_(ends["H^2", 2:3])
    )
    shrunken <- blup(fit)
    values <- c(values, blup = vector_(shrunken$pred), blup_se = vector_(shrunken$se))
  }
  if (moderators == "") {
    default <- predict(fit)
    # Higgins, Thompson & Spiegelhalter (2009), with k - p - 1 degrees of freedom
    half <- qt(0.975, fit$k - fit$p - 1) * sqrt(fit$tau2 + fit$se^2)
    if (inference != "z") {
      theirs <- predict(fit, pi.type = "riley")
      stopifnot(abs(theirs$pi.ub - theirs$pred - half) < 1e-12)
    }
    values <- c(values, pi = vector_(c(default$pi.lb, default$pi.ub)))
    if (tau2 %in% c("DL", "REML")) values <- c(values, pi_hts = vector_(fit$b[1] + c(-half, half)))
  } else {
    without <- fit_with("")$tau2
    values <- c(values,
      tau2_without_moderators = number(without),
      R2 = number(if (without > 0) max(0, 100 * (1 - fit$tau2 / without)) else NA),
      QM = number(fit$QM), QM_df1 = number(fit$m),
      QM_df2 = number(if (inference == "z") NA else fit$k - fit$p), QM_p = number(fit$QMp)
    )
  }
  head <- list(
    name = quote_(paste(set, tau2, inference, moderators)), set = quote_(set),
    model = quote_("random_effects"), tau2 = quote_(tau2), inference = quote_(inference),
    moderators = quote_(moderators)
  )
  fits <<- c(fits, do.call(object, c(head, values)))
}

all_inferences <- c("z", "t", "knapp_hartung", "knapp_hartung_conservative")
for (set in names(sets)) {
  for (tau2 in c("DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM")) {
    # inference does not depend on the estimator: two have them all
    inferences <- if (tau2 %in% c("DL", "REML")) all_inferences else c("z", "knapp_hartung")
    for (inference in inferences) {
      for (moderators in c("", "x")) record(set, tau2, inference, moderators)
      if (tau2 == "REML" && length(unique(sets[[set]]$level)) > 1) {
        for (moderators in c("level", "level + x")) record(set, tau2, inference, moderators)
      }
    }
  }
}

as_set <- function(dat) {
  columns <- lapply(dat, function(x) if (is.numeric(x)) vector_(x) else text(x))
  do.call(object, columns)
}
lines <- c(
  "{",
  paste0("\"versions\": ", object(
    R = quote_(getRversion()), metafor = quote_(packageVersion("metafor")),
    metadat = quote_(packageVersion("metadat"))
  ), ","),
  "\"sets\": {",
  paste0(quote_(names(sets)), ": ", sapply(sets, as_set), collapse = ",\n"),
  "},",
  "\"fits\": [",
  paste(fits, collapse = ",\n"),
  "]",
  "}"
)
writeLines(lines)
